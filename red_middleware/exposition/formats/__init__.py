"""How a reading is written: one file a format."""
