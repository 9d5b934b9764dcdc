"""From footage to a folder of aligned faces: found, followed, filtered, described."""
