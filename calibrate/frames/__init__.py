"""The frames of exposures on their detectors: subarrays and stripes."""
