"""`odelet tune`: the cheapest way to solve a model that is exact enough, found by measuring."""
