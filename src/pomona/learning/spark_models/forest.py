"""Random forest by Spark ML: the mean over trees of the shares of classes in a leaf."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.ml.classification import RandomForestClassificationModel, RandomForestClassifier

from pomona.learning.models.base import Graph, Settings
from pomona.learning.models.forest import TREES, round_down
from pomona.learning.models.shares import to_logits, to_logits_graph
from pomona.learning.models.trees import LESS_OR_EQUAL, Tree, sum_node
from pomona.learning.spark_models.answers import OnSpark
from pomona.learning.spark_models.rows import SparkRows, find_session

LIBRARY = None
# Spark grows a level of all trees at a time, in memory that doubles with each.
DEPTH = 12
MEMORY_MB = 512


def fit(rows: SparkRows, settings: Settings, seed: int) -> OnSpark:
    """Fits rows, among which each class occurs."""
    model = RandomForestClassifier(
        numTrees=TREES,
        maxDepth=DEPTH,
        minInstancesPerNode=settings["min_samples_leaf"],
        featureSubsetStrategy="sqrt",
        maxMemoryInMB=MEMORY_MB,
        seed=seed,
    ).fit(rows.frame())
    present = np.ones(rows.classes, bool)
    return OnSpark(
        model,
        "probability",
        partial(to_logits, present=present),
        partial(_graph, _trees(model), present),
    )


def _graph(trees: Sequence[Tree], present: npt.NDArray[np.bool_], x: str, logits: str) -> Graph:
    base = np.zeros(len(present), np.float32)
    end = to_logits_graph("shares", present, logits)
    return Graph([sum_node(x, "shares", trees, LESS_OR_EQUAL, base), *end.nodes], end.constants)


def _trees(model: RandomForestClassificationModel) -> list[Tree]:
    """The trees, which Spark's Python does not tell, as the JVM would save them."""
    java: Any = model._java_obj
    jvm: Any = find_session().sparkContext._jvm
    nodes = getattr(
        jvm.org.apache.spark.ml.tree, "DecisionTreeModelReadWrite$NodeData$"
    ).__getattr__("MODULE$")
    formats = getattr(jvm.org.json4s, "DefaultFormats$").__getattr__("MODULE$")
    write = jvm.org.json4s.jackson.Serialization.write
    weight = 1 / model.getNumTrees
    return [
        _tree(json.loads(write(nodes.build(each.rootNode(), 0)._1(), formats)), weight)
        for each in java.trees()
    ]


def _tree(nodes: Sequence[dict[str, Any]], weight: float) -> Tree:
    """One of Spark's trees, each of whose leaves gives its shares times the weight."""
    nodes = sorted(nodes, key=lambda node: node["id"])
    left = np.array([node["leftChild"] for node in nodes], np.int64)
    thresholds = [(node["split"]["leftCategoriesOrThreshold"] or [0.0])[0] for node in nodes]
    shares = np.array([node["impurityStats"] for node in nodes])
    shares /= shares.sum(axis=1, keepdims=True)
    leaves, classes = np.nonzero(shares * (left < 0)[:, None])
    return Tree(
        left,
        np.array([node["rightChild"] for node in nodes], np.int64),
        np.array([node["split"]["featureIndex"] for node in nodes], np.int64),
        round_down(np.array(thresholds)),
        leaves,
        classes,
        (shares[leaves, classes] * weight).astype(np.float32),
    )
