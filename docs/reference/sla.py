"""The page about SLA files, made from the form by which the root reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from docs.reference.tables import table
from root_orchestrator.api.oakestra.sla_form import Agreement

_BEGIN = """# SLA files

What is to run is declared in a document of this form, in JSON; `mangrove` takes YAML as well. It is Oakestra's, in
version v2.0, so files that were written for it work here. A document that does not fit is refused with the field that
is wrong; fields that are not listed are kept with the service and mean nothing.
"""


def page() -> str:
    """The page in Markdown."""
    (top,), components = msgspec.json.schema_components([Agreement], ref_template="{name}")
    forms = _reached(top["$ref"], components)
    return "\n".join([_BEGIN, *(_section(name, components[name]) for name in forms)])


def _section(name: str, form: dict[str, Any]) -> str:
    required = form.get("required", [])
    rows = [
        (f"`{field}`", _type(schema), _default(schema, field in required), schema.get("description", ""))
        for field, schema in form["properties"].items()
    ]
    return (
        f"## {name}\n\n{form['description']}\n\n{table(('field', 'type', 'if it is missing', 'what it means'), rows)}"
    )


def _reached(name: str, components: dict[str, Any]) -> list[str]:
    """The form called `name` and all that are used in it, each once, from the outside in."""
    found = [name]
    for one in found:
        used = (ref for schema in components[one]["properties"].values() for ref in _refs(schema))
        found += [ref for ref in dict.fromkeys(used) if ref not in found]
    return found


def _refs(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"]
        for part in schema.values():
            yield from _refs(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _refs(part)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"[{schema['$ref']}](#{schema['$ref'].lower()})"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one != {"type": "null"})
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if "minimum" in schema and schema["minimum"] >= 0:
        return f"{schema['type']}, {schema['minimum']} to {schema['maximum']:,}"
    return str(schema.get("type", "any"))


def _default(schema: dict[str, Any], is_required: bool) -> str:
    if is_required:
        return "**must be given**"
    default = schema.get("default")
    return f"`{msgspec.json.encode(default).decode()}`" if default not in (None, "", [], {}) else ""
