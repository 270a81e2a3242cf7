"""What is promoted and by whom: programs, partners, links, milestones."""
