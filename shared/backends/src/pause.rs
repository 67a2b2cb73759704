//! Waiting for a workspace, for as long as the invocation lives.

use std::time::Duration;

use async_trait::async_trait;
use unity_catalog::ports::Pause;

/// Waits as the runtime's timer does, and ends when the Lambda service would end the invocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InvocationPause;

#[async_trait]
impl Pause for InvocationPause {
    async fn pause(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn time_left(&self) -> Option<Duration> {
        lambda::time_left()
    }
}

#[cfg(test)]
mod tests {
    use crate::patience;

    /// The timeouts of the functions that are given a workspace, in seconds, as the template has them, but for the metadata
    /// writer's: it has as much patience as it has time, and its queue asks again in minutes.
    fn timeouts() -> Vec<u64> {
        let template = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/template.yaml");
        let template = std::fs::read_to_string(template).unwrap();
        let functions = template.split("Type: AWS::Serverless::Function").skip(1);
        let given = functions.filter(|function| function.contains("          DATABRICKS: "));
        let given = given.filter(|function| !function.contains("Binary: publish-metadata"));
        given
            .map(|function| function.split_once(" Timeout: ").unwrap().1.lines().next().unwrap().parse().unwrap())
            .collect()
    }

    #[test]
    fn a_call_that_waits_for_as_long_as_it_may_fits_into_every_function() {
        let timeouts = timeouts();
        assert_eq!(timeouts.len(), 6, "share, prove, promote, provision, invite, change");
        let shortest = timeouts.into_iter().min().unwrap();
        let patience = patience();
        let longest = patience.wait_max + patience.request_max + 2 * patience.reserve;
        assert!(longest.as_secs() < shortest, "{longest:?} of {shortest} s");
    }
}
