#![allow(missing_docs, unused_must_use)]
use aws::dynamo::DynamoStore;
use aws_sdk_dynamodb::types::*;
use testkit::state_contract::*;

async fn store(name: &str) -> (DynamoStore, aws_config::SdkConfig) {
    let config = aws::connect().await;
    let client = aws_sdk_dynamodb::Client::new(&config);
    let key = |n: &str, t| KeySchemaElement::builder().attribute_name(n).key_type(t).build().unwrap();
    let def = |n: &str| AttributeDefinition::builder().attribute_name(n).attribute_type(ScalarAttributeType::S).build().unwrap();
    let _ = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest)
        .key_schema(key("pk", KeyType::Hash)).key_schema(key("sk", KeyType::Range))
        .attribute_definitions(def("pk")).attribute_definitions(def("sk")).send().await;
    (DynamoStore::new(&config, name), config)
}

#[tokio::test]
async fn all() {
    let p = &format!("p{}", std::process::id());
    let (s, config) = store(&format!("t-{p}")).await;
    let step = |n: &str, t: std::time::Instant| eprintln!("{n} ok {:?}", t.elapsed());
    let t = std::time::Instant::now(); run_store_contract(&s, &s, p).await; step("runs", t);
    let t = std::time::Instant::now(); run_store_race_contract(&s, p).await; step("run race", t);
    let t = std::time::Instant::now(); delivery_store_contract(&s, p).await; step("deliveries", t);
    let t = std::time::Instant::now(); table_store_contract(&s, p).await; step("tables", t);
    let t = std::time::Instant::now(); table_store_race_contract(&s, p).await; step("table race", t);
    let t = std::time::Instant::now(); load_contract(&s, &s, &s, p).await; step("load", t);
    let t = std::time::Instant::now(); connector_store_contract(&s, &s, p).await; step("connectors", t);
    let t = std::time::Instant::now(); sharing_backend_contract(&s, p).await; step("sharing", t);

    use sharing::ports::*;
    use testkit::builders::*;
    let c = connector_id(&format!("{p}-act"));
    let act = |state| Activation { connector: c.clone(), endpoint: "e".into(), expires_at: instant(100), token_lifetime_days: 3, allowed_ips: vec!["a".into()], state };
    let (l1, l2) = (SecretHash::of(&format!("{p}1")), SecretHash::of(&format!("{p}2")));
    assert_eq!(s.newest(&c).await.unwrap(), None);
    s.put(&l1, &act(ActivationState::Unused)).await.unwrap();
    s.put(&l1, &act(ActivationState::Unused)).await.unwrap();
    s.mailed(&c, &l1).await.unwrap();
    assert_eq!(s.newest(&c).await.unwrap(), Some((act(ActivationState::Unused), Mailed::Yes)));
    s.put(&l2, &act(ActivationState::Unused)).await.unwrap();
    assert_eq!(s.newest(&c).await.unwrap(), Some((act(ActivationState::Unused), Mailed::Unknown)));
    s.mailed(&c, &l1).await.unwrap();
    assert_eq!(s.newest(&c).await.unwrap().unwrap().1, Mailed::Unknown);
    assert_eq!(s.activation(&l1).await.unwrap(), Some(act(ActivationState::Replaced)));
    let tok = SecretHash::of(&format!("{p}tok"));
    let g = Grant { connector: c.clone(), holder: Holder::Recipient, expires_at: instant(200), allowed_ips: vec![] };
    assert_eq!(s.consume(&l1, &tok, &g, instant(1)).await.unwrap(), Consumed::TooLate);
    assert_eq!(s.consume(&l2, &tok, &g, instant(100)).await.unwrap(), Consumed::TooLate);
    assert_eq!(s.consume(&SecretHash::of("none"), &tok, &g, instant(1)).await.unwrap(), Consumed::TooLate);
    assert_eq!(s.grant(&tok).await.unwrap(), None);
    assert_eq!(s.consume(&l2, &tok, &g, instant(99)).await.unwrap(), Consumed::Now);
    assert_eq!(s.consume(&l2, &tok, &g, instant(99)).await.unwrap(), Consumed::TooLate);
    assert_eq!(s.activation(&l2).await.unwrap(), Some(act(ActivationState::Used)));
    assert_eq!(s.grant(&tok).await.unwrap(), Some(g.clone()));
    s.put(&SecretHash::of(&format!("{p}3")), &act(ActivationState::Unused)).await.unwrap();
    assert_eq!(s.activation(&l2).await.unwrap(), Some(act(ActivationState::Used)));
    use delivery::ports::SharingBackend;
    use delivery::table::TableName;
    let con = connector(c.as_str(), "t");
    assert_eq!(s.provision(&con).await.unwrap(), delivery::ports::Provisioned::Ready);
    for n in ["WF_B__V1", "WF_A__V1"] { s.add_table(&c, &TableName::from_stored(n)).await.unwrap(); }
    assert_eq!(s.tables(&c).await.unwrap(), ["WF_A__V1", "WF_B__V1"].map(TableName::from_stored));
    assert_eq!(s.grant_and_table(&tok, &c.as_str().to_uppercase(), "wf_a__v1").await.unwrap(), (Some(g.clone()), Some(TableName::from_stored("WF_A__V1"))));
    assert_eq!(s.grant_and_table(&tok, c.as_str(), "nope").await.unwrap(), (Some(g.clone()), None));
    assert_eq!(s.grant_and_table(&tok, &"x".repeat(5000), "nope").await.unwrap(), (Some(g.clone()), None));
    s.remove_table(&c, &TableName::from_stored("WF_A__V1")).await.unwrap();
    assert_eq!(s.tables(&c).await.unwrap(), ["WF_B__V1"].map(TableName::from_stored));
    eprintln!("sharing ports ok");

    // errors
    let wrong = DynamoStore::new(&config, "no-such-table");
    use delivery::ports::*;
    let e = wrong.delivery(&delivery_key(&c, &run_key("t", "w", "r"))).await.unwrap_err();
    eprintln!("{:?} {} / {}", e.kind, e, e.source);
    let mut x: Option<&dyn std::error::Error> = Some(&e); while let Some(y) = x { eprintln!("  chain: {y}"); x = y.source(); }

    // object store
    use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path};
    let b = aws::s3::bucket("spill-tables").unwrap();
    let put = || b.put_opts(&Path::from("a/b.json"), "hi".into(), PutOptions::from(PutMode::Create));
    eprintln!("{:?}", put().await);
    eprintln!("{:?}", put().await);
    eprintln!("{:?}", b.get(&Path::from("a/b.json")).await.unwrap().bytes().await);
    eprintln!("{:?}", b.copy(&Path::from("a/b.json"), &Path::from("a/c.json")).await);
    eprintln!("{:?}", b.get(&Path::from("a/zzz")).await.map(|_| ()));

    // sqs
    let q = aws_sdk_sqs::Client::new(&config);
    let url = q.create_queue().queue_name("dead").send().await.unwrap().queue_url.unwrap();
    let dl = aws::sqs::DeadLetters::new(&config, &url);
    dl.refuse("{bad", &delivery::failure::StepError::new(delivery::failure::FailureCode::MessageNotJson, "not json")).await.unwrap();
    let m = q.receive_message().queue_url(&url).message_attribute_names("All").send().await.unwrap().messages.unwrap();
    eprintln!("{:?} {:?}", m[0].body, m[0].message_attributes);
    let e = aws::sqs::DeadLetters::new(&config, &url.replace("dead", "none")).refuse("x", &delivery::failure::StepError::new(delivery::failure::FailureCode::MessageNotJson, "n")).await.unwrap_err();
    eprintln!("{:?} {}", e.kind, e.source);

    // sfn
    let f = aws_sdk_sfn::Client::new(&config);
    let arn = f.create_state_machine().name("m").definition(r#"{"StartAt":"A","States":{"A":{"Type":"Succeed"}}}"#).role_arn("arn:aws:iam::000000000000:role/x").send().await.unwrap().state_machine_arn;
    let st = aws::sfn::StepFunctionsStarter::new(&config, &arn);
    for _ in 0..2 { st.start(&run_key("t", "w", "r"), &[c.clone()]).await.unwrap(); }
    let ex = f.list_executions().state_machine_arn(&arn).send().await.unwrap();
    eprintln!("executions {}", ex.executions.len());
    let e = aws::sfn::StepFunctionsStarter::new(&config, &format!("{arn}x")).start(&run_key("t", "w", "r"), &[]).await.unwrap_err();
    eprintln!("{:?} {}", e.kind, e.source);

    // ses
    let contact = delivery::connector::SecureContact::new("data@acme.test").unwrap();
    let mailer = aws::ses::SesMailer::new(&config, "sender@vendor.test");
    let e = mailer.send(Mail { to: &contact, subject: "s", body: "b".into() }).await;
    eprintln!("{e:?}");
    let ses = aws_sdk_sesv2::Client::new(&config);
    ses.create_email_identity().email_identity("sender@vendor.test").send().await.unwrap();
    mailer.send(Mail { to: &contact, subject: "sübject", body: "b ö".into() }).await.unwrap();
}
