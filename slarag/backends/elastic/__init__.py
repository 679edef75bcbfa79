"""The elastic mixture-of-experts server: a pool of devices that grows and shrinks while it serves."""
