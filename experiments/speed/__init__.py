"""What the library costs: figures and ratios of one machine."""
