"""`cordboard demo`: the main job, end to end, told step by step."""
