use super::*;
use proptest::prelude::*;

fn private(values: &[&str]) -> PrivateValues {
    let mut private = PrivateValues::default();
    values.iter().for_each(|value| private.insert(value));
    private
}

fn redact(values: &[&str], text: &str) -> String {
    private(values).redact(text)
}

#[test]
fn an_address_goes_with_all_that_is_joined_to_it() {
    for (text, expected) in [
        ("Invited bob@acme.test to the team", "Invited [redacted] to the team"),
        ("Invited BOB@ACME.TEST", "Invited [redacted]"),
        ("bob@acme.test", "[redacted]"),
        ("bob@acme", "[redacted]"),
        ("bob@[192.0.2.1]", "[redacted]"),
        ("To mailto:bob@acme.test?subject=Hi now", "To [redacted] now"),
        ("Bob <bob@acme.test> left", "Bob [redacted] left"),
        ("(bob@acme.test), ['eve@acme.test']", "[redacted] [redacted]"),
        ("a@x.test,b@y.test;c@z.test d", "[redacted] d"),
        ("\"Bob B\"@acme.test left", "[redacted] left"),
        ("from “Bob B”@acme.test", "from [redacted]"),
        ("bob @ acme.test left", "[redacted] left"),
        ("bob @acme.test left", "[redacted] left"),
        ("bob@ acme.test left", "[redacted] left"),
        ("bob\t@\nacme.test left", "[redacted] left"),
        ("thanks @bob_b !", "[redacted] !"),
        ("@", "[redacted]"),
        ("bob%40acme.test left", "[redacted] left"),
        ("bob%2540acme.test left", "[redacted] left"),
        ("bob＠acme.test left", "[redacted] left"),
        ("bob﹫acme.test left", "[redacted] left"),
        ("bob&#64;acme.test left", "[redacted] left"),
        ("bob&commat;acme.test left", "[redacted] left"),
        (r"bob\u0040acme.test left", "[redacted] left"),
        ("bob\u{200B}@\u{2060}acme.test left", "[redacted] left"),
        ("bo\u{0}b\u{0}@acme.test left", "[redacted] left"),
        ("bob%4\u{0}0acme.test left", "[redacted] left"),
        ("%62%6F%62%40acme.test left", "[redacted] left"),
        ("https://x.test/?u=bob%40acme.test&x=1 left", "[redacted] left"),
        ("用户bob@acme.test已删除", "[redacted]"),
        ("é@ü 🦀", "[redacted] 🦀"),
    ] {
        assert_eq!(redact(&[], text), expected, "{text:?}");
    }
}

#[test]
fn a_payload_goes_from_where_it_begins() {
    for (text, expected) in [
        ("Changed {\"before\": 1} to {\"after\": 2}", "Changed [redacted]"),
        ("Changed {before: 1, after: 2}", "Changed [redacted]"),
        ("Changed {'before': 1", "Changed [redacted]"),
        (r#"Changed {\"before\": 1}"#, "Changed [redacted]"),
        (r#"Changed "{\"before\": 1}""#, "Changed \"[redacted]"),
        ("Changed [\"a\", \"b\"]", "Changed [redacted]"),
        ("Changed [{\"a\": 1}]", "Changed [redacted]"),
        ("Changed [ [ { \"a\": 1}]]", "Changed [redacted]"),
        ("Changed %7B%22a%22%3A1%7D", "Changed [redacted]"),
        ("Changed {&quot;a&quot;:1}", "Changed [redacted]"),
        ("Changed ｛“a”：1｝", "Changed [redacted]"),
        ("[Draft] Orders {EU}: done", "[Draft] Orders {EU}: done"),
        ("Prices [2024]", "Prices [2024]"),
    ] {
        assert_eq!(redact(&[], text), expected, "{text:?}");
    }
}

#[test]
fn private_values_go_wherever_they_stand() {
    let values = ["usr_12345", "abc-9", "de%41d", "u-1", "Jane Doe", "jane.doe@acme.test", "data@acme.test"];
    for (text, expected) in [
        ("by usr_12345", "by [redacted]"),
        ("by USR_12345!", "by [redacted]!"),
        ("byusr_12345x", "by[redacted]x"),
        ("by usr%5F12345", "by [redacted]"),
        (r"by \xusr_12345", r"by \x[redacted]"),
        (r"by \xabc-9 of &#171;", r"by \x[redacted] of &#171;"),
        ("by usr_\u{200B}12345", "by [redacted]"),
        ("by u-1, again U-1", "by [redacted], again [redacted]"),
        ("menu-1 and u-12", "menu-1 and u-12"),
        ("usr_12345u-1", "[redacted]"),
        ("JANE DOE's workflow", "[redacted]'s workflow"),
        ("jane.doe's workflow", "[redacted]'s workflow"),
        ("new data", "new data"),
        ("a de%41d and a dead", "a [redacted] and a [redacted]"),
    ] {
        assert_eq!(redact(&values, text), expected, "{text:?}");
    }
    assert_eq!(redact(&["abcdef", "cdefgh"], "x abcdefgh y"), "x [redacted] y", "values that overlap");
    assert_eq!(redact(&["redacted"], "bob@acme.test"), "[redacted]");
    assert_eq!(redact(&["", " "], "as it was"), "as it was");
}

#[test]
fn a_text_keeps_what_people_write() {
    for text in [
        "Workflow “Box office” updated",
        "100% of 5 < 6 & more",
        "✔️ done 👩‍🔬",
        "naïve café — 東京",
        "C:\\x\\users",
        "a_b#1",
    ] {
        assert_eq!(redact(&[], text), text);
    }
    assert_eq!(redact(&[], "  a\u{7}b\r\nc\u{202E}d\u{0}  "), "ab  cd");
}

#[test]
fn a_very_long_text_ends_before_the_word_at_the_limit() {
    let filler = "word ".repeat(799);
    assert_eq!(redact(&[], &format!("{filler}bob@acme.test and on")), filler.trim_end());
    assert_eq!(redact(&[], &"x".repeat(4_000)), "x".repeat(4_000));
    assert_eq!(redact(&[], &"x".repeat(4_001)), REDACTED);
    assert_eq!(redact(&[], &"a@b ".repeat(100_000)).len(), 1_000 * (REDACTED.len() + 1) - 1);
}

#[test]
fn a_name_says_whether_it_is_about_a_person() {
    for name in ["user", "userId", "USER_EMAIL", "e-mail", "createdBy", "invited_by", "by", "Team Member", "apiKey"] {
        assert!(is_personal(name), "{name}");
    }
    for name in ["workflow", "name", "schedule", "status", "sortBy", "before", "id", "rows", ""] {
        assert!(!is_personal(name), "{name}");
    }
}

/// Texts made of what the rules look for.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "@",
        "＠",
        "%40",
        "%2540",
        "&#64;",
        "&commat;",
        "\\u0040",
        "%",
        "25",
        "40",
        "&",
        "amp;",
        "#64;",
        "\\",
        "u0040",
        "a",
        "bob",
        "usr_12345",
        "u-1",
        "acme.test",
        ".",
        " ",
        "\t",
        "\u{0}",
        "\u{200B}",
        "\"",
        "'",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "<",
        ">",
        "é",
        "🦀",
        "Ａ",
        "İ",
    ]);
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_at_sign_and_no_private_value_is_left(text in hostile()) {
        let private = private(&["usr_12345", "u-1"]);
        let redacted = private.redact(&text);
        let reading: String = Reading::decoded(&redacted).chars.iter().collect();
        prop_assert!(!reading.contains('@'), "{text:?} became {redacted:?}");
        prop_assert!(!reading.contains("usr_12345"), "{text:?} became {redacted:?}");
        prop_assert!(!redacted.contains(|c: char| c.is_control()));
    }

    #[test]
    fn what_is_redacted_stays_as_it_is(text in hostile()) {
        let private = private(&["usr_12345", "u-1"]);
        let once = private.redact(&text);
        prop_assert_eq!(private.redact(&once), once);
    }

    #[test]
    fn an_address_between_any_texts_is_not_left(before in ".{0,30}", local in "[a-z0-9._+-]{6,12}", after in ".{0,30}") {
        let redacted = redact(&[], &format!("{before}{local}@acme.test{after}"));
        prop_assert!(!redacted.contains(&local) || before.contains(&local) || after.contains(&local));
        prop_assert!(!redacted.contains('@'));
    }

    #[test]
    fn a_private_value_between_any_texts_is_not_left(before in ".{0,30}", value in "[a-zA-Z0-9_-]{4,40}", after in ".{0,30}") {
        let redacted = redact(&[&value], &format!("{before}{value}{after}"));
        let shown = redacted.replace(REDACTED, "").to_lowercase();
        let elsewhere = format!("{before} {after}").to_lowercase().contains(&value.to_lowercase());
        prop_assert!(!shown.contains(&value.to_lowercase()) || elsewhere, "{redacted:?}");
    }

    #[test]
    fn a_text_of_plain_words_is_unchanged(text in "[a-zA-Z0-9 .,!?()é-]{0,200}") {
        prop_assert_eq!(redact(&[], &text), text.trim());
    }
}
