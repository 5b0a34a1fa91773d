"""Comparison: two classifiers on the same rows."""

from __future__ import annotations

from typing import Any

from pomona.learning.evaluation.base import Other
from pomona.learning.models.base import Codes


def compare(labels: Codes, predicted: Codes, other: Other) -> dict[str, Any]:
    """Compares a classifier with another one by McNemar's test, in its exact form.

    McNemar, "Note on the sampling error of the difference between correlated proportions", 1947:
    of the rows that one of the two has right, each is as likely to have either if they are
    equally good. The p-value is that of a binomial test, of which the usual chi-squared is an
    approximation. Rows are taken for independent.

    Parameters
    ----------
    labels, predicted : numpy.ndarray
        int64[n]: the labels, and the classifier's answers.
    other : Other
        The other one.

    Returns
    -------
    dict
        name; accuracy of the other; only_this and only_other, the numbers of rows that one of
        them alone has right; p.
    """
    from scipy.stats import binomtest

    this_right, other_right = predicted == labels, other.predicted == labels
    only_this = int((this_right & ~other_right).sum())
    only_other = int((other_right & ~this_right).sum())
    apart = only_this + only_other
    return {
        "name": other.name,
        "accuracy": float(other_right.mean()),
        "only_this": only_this,
        "only_other": only_other,
        "p": float(binomtest(only_this, apart, 0.5).pvalue) if apart else 1.0,
    }
