"""The online side: answers `POST /recommend` from a published release. Imports neither torch, nor model, nor offline."""
