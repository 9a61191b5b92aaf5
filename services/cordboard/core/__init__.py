"""What every service shares, and no service's business."""
