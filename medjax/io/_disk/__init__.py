"""Shared by the formats: files written whole or not at all, streams, elements, metadata that is passed on."""
