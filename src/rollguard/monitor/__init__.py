"""A deployment is watched: counted, judged, reported, acted upon."""
