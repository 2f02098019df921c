"""The `lseg` command line; needs no ROS."""
