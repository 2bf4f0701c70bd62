"""One experiment: checked, integrated, recorded, mirrored."""
