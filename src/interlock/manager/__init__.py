"""The manager: inventory, baselines and compliance of many hosts, over ssh and without anything installed on them."""
