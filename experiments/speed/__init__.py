"""The speed of the library, measured on one machine."""
