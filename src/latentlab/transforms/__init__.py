"""Changes of images: corruption and augmentation."""
