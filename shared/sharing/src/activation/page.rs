//! The pages' HTML: plain, readable without styles, nothing loaded from anywhere.

use crate::ports::Activation;

/// Why there is no button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// No such link.
    Unknown,
    /// The credential was handed out.
    Used,
    /// A newer link took its place.
    Replaced,
    /// The link is too old.
    Expired,
    /// The recipient's access was taken away.
    Revoked,
    /// Our own failure; the link is still what it was, unless the credential left just then.
    Trouble,
}

impl Message {
    fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Unknown => (
                "This link is not known",
                "Check that the whole link from the e-mail is in the address bar. If it is, ask your data provider \
                 for a new activation link.",
            ),
            Self::Used => (
                "This link was used already",
                "The credential can be downloaded once. If you have the file <code>config.share</code>, go on using \
                 it. If you do not, or if it was not you who downloaded it, tell your data provider at once and ask \
                 for a new activation link.",
            ),
            Self::Replaced => (
                "A newer link took this one's place",
                "Look for a later e-mail with an activation link and use that one. If you have none, ask your data \
                 provider for a new activation link.",
            ),
            Self::Expired => (
                "This link has expired",
                "Nobody downloaded the credential in time. Ask your data provider for a new activation link.",
            ),
            Self::Revoked => (
                "This link was revoked",
                "Your data provider has ended the access to this share. If you think that you should have it, ask \
                 your data provider to set it up anew.",
            ),
            Self::Trouble => (
                "This did not work",
                "Try again in a minute. If the page then says that the link was used although you have no file, ask \
                 your data provider for a new activation link.",
            ),
        }
    }
}

/// The page with the button.
pub(super) fn invitation(activation: &Activation) -> String {
    let share = escaped(activation.connector.as_str());
    let (until, days) = (activation.expires_at, activation.token_lifetime_days);
    let minute = until.minute_text();
    let addresses = if activation.allowed_ips.is_empty() {
        String::new()
    } else {
        let list: Vec<_> = activation.allowed_ips.iter().map(|entry| escaped(entry)).collect();
        format!("<div><dt>Reading is allowed from</dt><dd>{}</dd></div>", list.join(", "))
    };
    document(
        "Download your sharing credential",
        &format!(
            "<p>This page hands out the credential for a data share: a file named <code>config.share</code> that \
             lets Delta Sharing clients (pandas, Spark, Power BI and others) read the share.</p>\
             <dl><div><dt>Share</dt><dd>{share}</dd></div>\
             <div><dt>This link works until</dt><dd><time datetime=\"{until}\">{minute}</time></dd></div>\
             <div><dt>The credential is good for</dt><dd>{days} days from the download</dd></div>{addresses}</dl>\
             <p><strong>It can be downloaded once.</strong> Whoever has the file can read the share: keep it as you \
             keep a password.</p>\
             <form method=\"post\"><button type=\"submit\">Download config.share</button></form>"
        ),
    )
}

/// A page that says why there is no button.
pub(super) fn message(message: Message) -> String {
    let (title, text) = message.text();
    document(title, &format!("<p>{text}</p>"))
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex, nofollow\"><meta name=\"referrer\" content=\"no-referrer\">\
         <title>{title}</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>\n"
    )
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;font:1.0625rem/1.55 system-ui,sans-serif;background:#f4f5f7;color:#1b1f24}\
main{max-width:36rem;margin:10vh auto;padding:2rem;background:#fff;border:1px solid #d5d9df;border-radius:.75rem}\
h1{margin:0 0 1rem;font-size:1.5rem;line-height:1.25}\
dl{margin:1.5rem 0}dl div{padding:.5rem 0;border-top:1px solid #e4e7eb}\
dt{color:#57606a;font-size:.9375rem}dd{margin:0;font-weight:600;overflow-wrap:anywhere}\
button{font:inherit;font-weight:600;padding:.75rem 1.25rem;border:0;border-radius:.5rem;background:#0b5cad;\
color:#fff;cursor:pointer}button:hover{background:#094a8c}\
button:focus-visible{outline:3px solid #f2a900;outline-offset:2px}\
@media (prefers-color-scheme:dark){body{background:#15181c;color:#e6e9ed}main{background:#1e2227;\
border-color:#383e46}dl div{border-color:#383e46}dt{color:#a5adb8}}\
@media (max-width:40rem){main{margin:0;border:0;border-radius:0;min-height:100vh;box-sizing:border-box}}";

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_become_markup() {
        assert_eq!(escaped("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }
}
