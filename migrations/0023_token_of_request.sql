-- Which API token made a request: names come again, ids do not. Requests from before have none.
alter table requests add column created_by_token uuid references api_tokens (id);
