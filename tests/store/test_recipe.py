"""The recipe: every field decides its digest, and a manifest keeps it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.store.recipe import Recipe

RECIPE = Recipe("efficientnet_lite0", "a" * 64, "b" * 64, 224, 1280)
FIELDS = [field.name for field in dataclasses.fields(Recipe)]

texts = st.none() | st.text(max_size=5)
recipes = st.builds(
    Recipe,
    backbone=st.text(max_size=5),
    weights_sha256=texts,
    model_sha256=texts,
    input_size=st.none() | st.integers(1, 999),
    width=st.integers(1, 9999),
    fit=st.sampled_from(["stretch", "crop"]),
    crop_fraction=st.none() | st.floats(0.1, 1),
    shrink=texts,
    enlarge=texts,
    runtime=texts,
    precision=texts,
)


@given(recipes, recipes)
@settings(deadline=None)
def test_two_recipes_have_one_digest_if_they_are_equal(one: Recipe, other: Recipe) -> None:
    assert (one.digest == other.digest) == (one == other)
    assert len(one.digest) == 64


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [None, "other", 7, 0.5])
def test_any_field_decides_the_digest(field: str, value: Any) -> None:
    changed = dataclasses.replace(RECIPE, **{field: value})
    assert (changed.digest == RECIPE.digest) == (getattr(RECIPE, field) == value)


@given(recipes)
@settings(deadline=None)
def test_a_recipe_comes_back_from_a_manifest(recipe: Recipe) -> None:
    fields = json.loads(json.dumps(recipe.to_dict()))
    assert fields["digest"] == recipe.digest
    assert Recipe.from_dict(fields) == recipe


def test_a_recipe_of_a_later_version_is_read_and_has_another_digest() -> None:
    later = {**RECIPE.to_dict(), "sharpen": 2, "digest": "of more fields"}
    assert Recipe.from_dict(later) == RECIPE
    assert Recipe.from_dict(later).digest != later["digest"]


@given(recipes, recipes)
@settings(deadline=None)
def test_equal_recipes_have_no_differences(one: Recipe, other: Recipe) -> None:
    assert bool(one.differences(other)) == (one != other)
    assert one.differences(one) == []


def test_differences_say_this_one_then_the_other() -> None:
    other = dataclasses.replace(RECIPE, fit="crop", crop_fraction=0.875)
    assert RECIPE.differences(other) == ["fit: stretch, not crop", "crop_fraction: None, not 0.875"]
    assert other.differences(RECIPE) == ["fit: crop, not stretch", "crop_fraction: 0.875, not None"]
