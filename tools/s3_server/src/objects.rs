//! s3s-fs, which keeps objects as files, but for how they are read: it makes the MD5 of a whole object for each range, gives a look no entity tag, and does
//! not heed `If-Match`. Here a tag is a file's length and time, and a range costs what it has.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// Bytes that are handed on at a time.
const BLOCK: usize = 256 << 10;

#[derive(Debug)]
pub struct Objects {
    files: FileSystem,
    root: PathBuf,
}

struct Found {
    path: PathBuf,
    length: u64,
    written: Timestamp,
    tag: ETag,
}

impl Objects {
    pub fn new(root: &Path) -> Result<Objects, String> {
        let files = FileSystem::new(root).map_err(|e| format!("{}: {e:?}", root.display()))?;
        Ok(Objects { files, root: root.to_path_buf() })
    }

    async fn find(&self, bucket: &str, key: &str) -> S3Result<Found> {
        if !self.root.join(bucket).is_dir() {
            return Err(s3_error!(NoSuchBucket));
        }
        let path = self.root.join(bucket).join(key);
        let there = tokio::fs::metadata(&path).await.ok().filter(|there| there.is_file() && !key.contains(".."));
        let (there, written) = there
            .and_then(|there| there.modified().ok().map(|written| (there, written)))
            .ok_or_else(|| s3_error!(NoSuchKey))?;
        let age = written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let tag = ETag::Strong(format!("{:x}-{:x}", there.len(), age.as_nanos()));
        Ok(Found { path, length: there.len(), written: Timestamp::from(written), tag })
    }
}

fn signed(number: u64) -> Option<i64> {
    i64::try_from(number).ok()
}

#[async_trait::async_trait]
impl S3 for Objects {
    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let found = self.find(&input.bucket, &input.key).await?;
        if let Some(ETagCondition::ETag(wanted)) = &input.if_match
            && *wanted != found.tag
        {
            return Err(s3_error!(PreconditionFailed));
        }
        let (range, said) = match input.range {
            None => (0..found.length, None),
            Some(range) => {
                let range = range.check(found.length)?;
                let said = format!("bytes {}-{}/{}", range.start, range.end - 1, found.length);
                (range, Some(said))
            }
        };
        let gone = |_| s3_error!(NoSuchKey);
        let mut file = tokio::fs::File::open(&found.path).await.map_err(gone)?;
        file.seek(SeekFrom::Start(range.start)).await.map_err(gone)?;
        let length = range.end - range.start;
        let body = StreamingBlob::wrap(ReaderStream::with_capacity(file.take(length), BLOCK));
        Ok(S3Response::new(GetObjectOutput {
            body: Some(body),
            content_length: signed(length),
            content_range: said,
            e_tag: Some(found.tag),
            last_modified: Some(found.written),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let found = self.find(&request.input.bucket, &request.input.key).await?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: signed(found.length),
            e_tag: Some(found.tag),
            last_modified: Some(found.written),
            ..HeadObjectOutput::default()
        }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.files.put_object(request).await
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.files.delete_object(request).await
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.files.delete_objects(request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.files.list_objects_v2(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.files.create_multipart_upload(request).await
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.files.upload_part(request).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.files.complete_multipart_upload(request).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.files.abort_multipart_upload(request).await
    }
}
