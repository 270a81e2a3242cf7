"""What operators administer: `catalogue`, what is promoted; `access`, who may do what."""
