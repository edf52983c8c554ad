"""Every kind of event that people are told of, in one table: what lists and streams of events may be filtered by."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Kind(NamedTuple):
    """A kind of event. subject: what its `subject` is the id of; meaning: a sentence."""

    name: str
    subject: Literal["instance", "service", "cluster", "node", "user"]
    meaning: str


TABLE: tuple[Kind, ...] = (
    # -- instances
    Kind("placed", "instance", "It was given to a cluster, or by a cluster to one of its nodes."),
    Kind("refused", "instance", "Where it was given to could not take it; another place is looked for."),
    Kind("failing", "instance", "It ends again and again and is restarted in place; told when its restarts double."),
    Kind("failed", "instance", "An attempt ended badly; a new one follows, after a pause."),
    Kind("completed", "instance", "It did what it was to do once, and ended well."),
    Kind(
        "moved",
        "instance",
        "It went elsewhere, since where it was is silent, removed or drained, or did not get it going.",
    ),
    Kind("displaced", "instance", "It makes room for a more important one, which fitted nowhere."),
    Kind("displaces", "instance", "Less important ones make room for it; it begins when they have ended."),
    Kind("returned", "instance", "Where it was before is back, and one of the two copies stays, as its policy says."),
    Kind("replaced", "instance", "It makes way for the newer version of its service."),
    Kind("held", "instance", "An operator of its cluster has stopped it there, until they release it."),
    Kind("released", "instance", "The operator lets it run again."),
    Kind("adopted", "instance", "A store that was brought back did not know that it runs; it is kept."),
    Kind("dropped", "instance", "Nobody kept what was adopted, or it is exclusive and has a rival: it is stopped."),
    Kind("handed-back", "instance", "A cluster found no place for it and gave it back to the root."),
    # -- services
    Kind("rollout-begun", "service", "A newer version is being rolled out, one instance after another."),
    Kind("rollout-done", "service", "All instances are of the newer version."),
    Kind("rollout-stopped", "service", "The rollout stands still, since the newer version does not run well."),
    # -- clusters
    Kind("cluster-joined", "cluster", "It joined; it is not connected yet."),
    Kind("cluster-connected", "cluster", "It is connected, for the first time or again."),
    Kind("cluster-suspect", "cluster", "Its connection broke; it may be back before it counts as silent."),
    Kind("cluster-silent", "cluster", "It was not heard for longer than its lease."),
    Kind("cluster-mass-loss", "cluster", "So many fell silent at once that nothing is replaced for a while."),
    Kind("cluster-refused", "cluster", "It was turned away when it connected."),
    Kind("cluster-cordoned", "cluster", "It was cordoned or is to be drained, or is not any more."),
    Kind("cluster-drained", "cluster", "Nothing of what it ran is left there, as an operator wanted."),
    Kind("cluster-troubled", "cluster", "Something is wrong with it, such as a full disk."),
    Kind("cluster-well", "cluster", "What was wrong with it is over."),
    Kind("cluster-without-addresses", "cluster", "It needs more addresses for its nodes, and the root has none left."),
    Kind("cluster-removed", "cluster", "It was removed, or has left."),
    # -- nodes
    Kind("node-joined", "node", "It joined its cluster."),
    Kind("node-connected", "node", "It is connected to its cluster, for the first time or again."),
    Kind("node-suspect", "node", "Its connection to its cluster broke; it may be back before it counts as silent."),
    Kind("node-silent", "node", "Its cluster does not hear it any more."),
    Kind("node-mass-loss", "node", "So many fell silent at once that nothing is replaced for a while."),
    Kind("node-refused", "node", "Its cluster turned it away when it connected."),
    Kind("node-cordoned", "node", "It was cordoned or is to be drained, or is not any more."),
    Kind("node-drained", "node", "Nothing of what it ran is left there, as an operator wanted."),
    Kind("node-troubled", "node", "Something is wrong with it, such as a full disk."),
    Kind("node-well", "node", "What was wrong with it is over."),
    Kind("node-without-addresses", "node", "It needs addresses for its instances, and its cluster has none left."),
    Kind("node-removed", "node", "It was removed from its cluster, or has left."),
    # -- users
    Kind("password-wanted", "user", "Somebody forgot their password where no mail is sent; an Admin gives a new one."),
)

KINDS = {kind.name: kind for kind in TABLE}
