"""The models, the simplest first: of those that are as good, this order decides.

To add a model, write a module as `base.Implementation` says, and add its entry. For one that Spark
can fit, write another as `base.SparkImplementation` says.
"""

from __future__ import annotations

from pomona.learning.models.base import Model

_HOME = "pomona.learning.models"
_SPARK = "pomona.learning.spark_models"

MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            "logistic",
            "logistic regression",
            f"{_HOME}.logistic",
            True,
            spark_module=f"{_SPARK}.logistic",
        ),
        Model("lda", "shrunk linear discriminant", f"{_HOME}.lda", True, None, None),
        # What these cost, and why they end here: docs/classifier.md
        Model("knn", "nearest neighbours", f"{_HOME}.knn", True, most_rows=200_000),
        Model("svm", "support vector machine", f"{_HOME}.svm", False, most_rows=20_000),
        Model("mlp", "neural network", f"{_HOME}.mlp", False),
        Model(
            "forest",
            "random forest",
            f"{_HOME}.forest",
            False,
            spark_module=f"{_SPARK}.forest",
        ),
        Model(
            "xgboost",
            "boosted trees",
            f"{_HOME}.xgboost",
            False,
            "xgboost",
            "xgboost",
            f"{_SPARK}.xgboost",
        ),
    )
}
