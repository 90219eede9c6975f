"""A release from a release, without training: items added by the frozen item encoder, items removed."""
