"""What commands do, without their options and output: the console and the API call it too."""
