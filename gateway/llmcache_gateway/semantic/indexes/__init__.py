"""Where vectors are searched: one port, and a member for each place."""
