"""What the formats share: files written whole or not at all, streams, elements, what is passed on."""
