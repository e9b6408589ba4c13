-- Who may have committed with a token past this service, and since when.
alter table preparations
    -- It was not issued before that. Unknown of one that came undated: then it is as old as a token gets.
    add column issued_after timestamptz,
    -- The service prepared it itself, and nobody else has seen it.
    add column is_ours boolean not null default false,
    -- How often the replica of this token was looked for in vain, before another one is used.
    add column looks integer not null default 0 check (looks >= 0);
