"""The version of this distribution; alone in its file, so that a build reads it without importing anything."""

VERSION = "0.1.0"
