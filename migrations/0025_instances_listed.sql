-- When Phala Cloud's list of an app's instances was read last: before that nobody can be said to need nothing.
alter table apps add column instances_listed_at timestamptz;
