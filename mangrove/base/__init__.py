"""Clock, ids, errors, files and logging: what every part stands on. Imports nothing else of Mangrove's."""
