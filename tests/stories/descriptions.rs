//! The committed descriptions of queries, which builds rely on, describe the database that the
//! migrations make.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Column, Connection, Executor, SqlSafeStr, TypeInfo};

use crate::world::database;

fn descriptions() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let files = fs::read_dir(folder).expect("the descriptions are committed");
    let read = |path| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    files.map(|file| read(file.unwrap().path())).collect()
}

/// What a description says about columns: name and type.
fn described(description: &Value) -> Vec<(String, String)> {
    let columns = description["describe"]["columns"].as_array().unwrap();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    columns.iter().map(|column| (text(&column["name"]), text(&column["type_info"]))).collect()
}

#[tokio::test]
async fn every_query_is_what_its_description_says() {
    let database = database().await;
    let mut connection = database.connect().await;
    let all = descriptions();
    assert!(all.len() > 40, "{} descriptions", all.len());
    for description in all {
        let query = description["query"].as_str().unwrap();
        let found = connection.describe(AssertSqlSafe(query).into_sql_str()).await;
        let found = found.unwrap_or_else(|error| panic!("{query}: {error}"));
        let columns: Vec<(String, String)> = found
            .columns()
            .iter()
            .map(|column| {
                let kind = serde_json::to_value(column.type_info()).unwrap();
                let name = kind.as_str().map_or_else(|| kind.to_string(), str::to_owned);
                assert!(!column.type_info().is_null() || name == "Void", "{query}");
                (column.name().to_owned(), name)
            })
            .collect();
        assert_eq!(columns, described(&description), "{query}");
        let nullable = json!(found.nullable);
        assert_eq!(nullable, description["describe"]["nullable"], "{query}");
    }
    connection.close().await.unwrap();
}
