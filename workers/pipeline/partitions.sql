-- partition_make: make the partition of a moment's month; whether it was missing
select make_partition($1::timestamptz)
