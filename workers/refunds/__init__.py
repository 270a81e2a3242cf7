"""What refunds take back of their sales. Read by the writers of events."""
