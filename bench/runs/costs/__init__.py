"""What work costs: counts that no machine changes, and rates measured on this one."""
