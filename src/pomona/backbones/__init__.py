"""Pretrained networks: `registry` knows them, `cache` converts them once, `runtime` runs them."""
