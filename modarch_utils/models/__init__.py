"""One file per architecture, written in the terms of its paper."""
