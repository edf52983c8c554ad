"""Hard conditions. Each filter says whether it applies, which children pass, and why the others do not."""

from __future__ import annotations

from mangrove.placement.filters.crowd import HostPorts, PerNode
from mangrove.placement.filters.direct import Clusters, Direct
from mangrove.placement.filters.fit import Fit
from mangrove.placement.filters.interface import Filter, Limit
from mangrove.placement.filters.labels import Labels, Taints
from mangrove.placement.filters.platform import Addons, Architecture, Runtime, System
from mangrove.placement.filters.where import Geo, Latency

#: What a child is: the answers change only when it says something else of itself.
ATTRIBUTES: tuple[Filter, ...] = (
    Direct(),
    Clusters(),
    Runtime(),
    System(),
    Architecture(),
    Addons(),
    Labels(),
    Taints(),
)
#: Where it stands and what is measured there.
PLACES: tuple[Filter, ...] = (Geo(), Latency())
#: How many more it can take: less with each one that it is given.
LIMITS: tuple[Limit, ...] = (HostPorts(), PerNode(), Fit())
#: In the order in which they are asked and explained.
FILTERS: tuple[Filter, ...] = (*ATTRIBUTES, *PLACES, *LIMITS)
