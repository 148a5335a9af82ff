use super::*;

#[test]
fn an_address_prints_without_its_secrets() {
    for (text, shown) in [
        ("postgres://ann:pw@db.example:5433/toll?sslmode=require", "postgres://db.example:5433/toll"),
        ("postgresql://db/toll?password=pw&user=ann", "postgres://db/toll"),
        ("postgres://ann:p@w@db/toll", "postgres://db/toll"),
        ("sqlite:data/toll.db", "sqlite:data/toll.db"),
        ("sqlite:///var/lib/toll.db", "sqlite:/var/lib/toll.db"),
    ] {
        let url: DatabaseUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), shown);
        assert_eq!(format!("{url:?}"), shown);
    }
    for text in ["", "mysql://db/toll", "sqlite:", "sqlite::memory:"] {
        assert_eq!(text.parse::<DatabaseUrl>().err(), Some(BadUrl), "{text}");
    }
}
