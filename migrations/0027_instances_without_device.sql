-- An instance whose device nobody knows is on the list all the same: who is not on it is gone.
alter table device_instances alter column device_id drop not null;
