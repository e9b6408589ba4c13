-- Who may have committed with a token past this service, and since when.
alter table preparations
    -- It was not issued before that. Of one that came undated it is only known how long a token lives.
    add column issued_after timestamptz,
    -- The service prepared it itself, and nobody else has seen it.
    add column is_ours boolean not null default false,
    -- How often the replica of a token before it was looked for in vain, before this one is used.
    add column looks integer not null default 0 check (looks >= 0);
update preparations set issued_after = prepared_at - interval '14 days';
alter table preparations alter column issued_after set not null;
