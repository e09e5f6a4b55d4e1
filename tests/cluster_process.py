"""A cluster of three nodes on this machine, in a process of its own: a head, and nodes with labels and resources.

It prints its address and its nodes' ids and processes as JSON, drains the nodes whose ids it is told, and ends with its
input.
"""

from __future__ import annotations

import json
import sys
import time

from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

NODES = {
    "a": {"num_cpus": 2, "labels": {"zone": "a"}, "resources": {"accelerator_type:H100": 1, "licence": 2}},
    "b": {"num_cpus": 2, "labels": {"zone": "b"}},
}
"""Zone -> what a node is started with."""
NOTICE_SECONDS = 60


def main() -> None:
    """See above."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = {zone: cluster.add_node(**arguments) for zone, arguments in NODES.items()}
        cluster.wait_for_nodes()
        raylets = {zone: node.all_processes["raylet"][0].process.pid for zone, node in nodes.items()}
        ids = {zone: node.node_id for zone, node in nodes.items()}
        print(json.dumps({"address": cluster.address, "ids": ids, "raylets": raylets}), flush=True)
        for line in sys.stdin:
            deadline = int((time.time() + NOTICE_SECONDS) * 1000)
            reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
            print(GcsClient(address=cluster.address).drain_node(line.strip(), reason, "spot", deadline)[0], flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
