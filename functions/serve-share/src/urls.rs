//! Presigned URLs of the tables bucket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use delivery::ports::{PortError, PortErrorKind};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::Signer;
use sharing::ports::UrlSigner;

/// A [`UrlSigner`] with the function's own credentials. When they end is not known: the platform does not say.
#[derive(Debug)]
pub struct S3Urls {
    bucket: Arc<AmazonS3>,
}

impl S3Urls {
    /// URLs of a bucket.
    #[must_use]
    pub fn new(bucket: Arc<AmazonS3>) -> Self {
        Self { bucket }
    }
}

#[async_trait]
impl UrlSigner for S3Urls {
    async fn signed_url(&self, key: &str, life_seconds: u32) -> Result<String, PortError> {
        const OPERATION: &str = "sign the URL of a file";
        let path = Path::parse(key).map_err(|error| PortError::new(PortErrorKind::InvalidData, OPERATION, error))?;
        let life = Duration::from_secs(life_seconds.into());
        let url = self.bucket.signed_url(http::Method::GET, &path, life).await;
        url.map(Into::into).map_err(|error| PortError::new(PortErrorKind::Unavailable, OPERATION, error))
    }
}

#[cfg(test)]
mod tests {
    use object_store::aws::AmazonS3Builder;

    use super::*;

    #[tokio::test]
    async fn a_url_is_presigned_and_its_key_encoded_once() {
        let bucket = AmazonS3Builder::new()
            .with_region("eu-west-1")
            .with_bucket_name("tables")
            .with_access_key_id("key")
            .with_secret_access_key("secret")
            .build()
            .unwrap();
        let urls = S3Urls::new(Arc::new(bucket));
        let url = urls.signed_url("connectors/acme/T/k=a%20b/f+1.parquet", 60).await.unwrap();
        assert!(url.contains("/connectors/acme/T/k%3Da%2520b/f%2B1.parquet?"), "{url}");
        assert!(url.contains("X-Amz-Signature=") && url.contains("X-Amz-Expires=60"), "{url}");
    }
}
