"""Online: answers `POST /recommend` from a published release; imports neither torch, nor model, nor offline."""
