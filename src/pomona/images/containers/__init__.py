"""Files that hold many images: zip, tar and Parquet, read in ranges and never unpacked."""
