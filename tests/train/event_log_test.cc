// The event file: check values of CRC-32C, the bytes that the package tensorboard writes for the same events, writes
// that fail.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <string>

#include "files/temp_folder.h"
#include "train/full_disk_log.h"
#include "train/run_log.h"
#include "train/tensorboard.h"

namespace dgemma {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// The plain checksum behind the mask.
uint32_t Unmasked(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8U;
  return rotated << 15 | rotated >> 17;
}

TEST(EventLog, ChecksumsAreThoseOfRfc3720) {
  std::string rising, falling;
  for (int i = 0; i < 32; ++i) rising += static_cast<char>(i);
  falling.assign(rising.rbegin(), rising.rend());
  EXPECT_EQ(Unmasked(MaskedCrc32c(std::string(32, '\0'))), 0x8a9136aaU);
  EXPECT_EQ(Unmasked(MaskedCrc32c(std::string(32, '\xff'))), 0x62a8ab43U);
  EXPECT_EQ(Unmasked(MaskedCrc32c(rising)), 0x46dd794eU);
  EXPECT_EQ(Unmasked(MaskedCrc32c(falling)), 0x113fdb5cU);
  EXPECT_EQ(Unmasked(MaskedCrc32c("123456789")), 0xe3069283U);
  EXPECT_EQ(MaskedCrc32c(""), 0xa282ead8U);
}

TEST(EventLog, IsByteByByteWhatTheTensorboardPackageWrites) {
  const TempFolder folder;
  auto events = EventFile::Create(folder.path(), 300, 1700000000.25);
  ASSERT_TRUE(events) << events.error().message;
  EXPECT_EQ(events->path().filename(), "events.out.tfevents.1700000000.dgemma");
  ASSERT_TRUE(
      events->Append(300, 1700000001.5, std::vector<Scalar>{{"loss/diffusion", 8.3125}, {"optimizer/rate", 1e-4}}));
  ASSERT_TRUE(
      events->Append(301, 1700000002.5, std::vector<Scalar>{{"row_accuracy/größer als " + std::string(200, 'x'), 0}}));
  ASSERT_TRUE(events->Append(int64_t{1} << 40, 1700000003.0, std::vector<Scalar>{{"loss/diffusion", -1.5}}));
  const std::string recorded = FileContent(DGEMMA_SOURCE_DIR "/tests/data/train/events.bin");
  ASSERT_GT(recorded.size(), 100U);
  EXPECT_EQ(FileContent(events->path()), recorded);
}

TEST(EventLog, EveryProcessOfARunWritesAFileOfItsOwn) {
  const TempFolder folder;
  auto first = EventFile::Create(folder.path(), 0, 1700000000.9);
  auto second = EventFile::Create(folder.path(), 5, 1700000000.9);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(second->path().filename(), "events.out.tfevents.1700000001.dgemma");
  EXPECT_EQ(EventFile::Create(folder.path() / "missing", 0, 1700000000).error().code, StatusCode::kIo);
}

TEST(EventLog, ShowsWhatOfALineIsFinite) {
  StepLine step{
      .report =
          {.step = 3, .diffusion_loss = 0.5, .next_token_loss = kNan, .gradient_norm = 2, .rate = 0.25, .tasks = {}},
      .rows_per_second = std::numeric_limits<double>::infinity(),
      .memory_bytes = 4096};
  step.report.tasks["sort"] = {.rows = 8, .correct = 6};
  step.report.tasks["none"] = {};
  std::string text;
  for (const Scalar& scalar : ScalarsOf(step)) text += scalar.tag + "=" + std::to_string(scalar.value) + " ";
  EXPECT_EQ(text,
            "loss/diffusion=0.500000 optimizer/gradient_norm=2.000000 optimizer/rate=0.250000 "
            "machine/memory_bytes=4096.000000 row_accuracy/sort=0.750000 ");
  EvaluationLine evaluation{.suite = "held out", .steps_taken = 4};
  evaluation.tasks["sort"] = {.answers = 4, .correct = 1, .canvases = 4, .canvas_steps = 12};
  evaluation.tasks["none"] = {};
  text.clear();
  for (const Scalar& scalar : ScalarsOf(evaluation)) text += scalar.tag + "=" + std::to_string(scalar.value) + " ";
  EXPECT_EQ(text,
            "held out/accuracy=0.250000 held out/steps_per_canvas=3.000000 held out/accuracy/sort=0.250000 "
            "held out/steps_per_canvas/sort=3.000000 ");
}

TEST(EventLog, AFullDiskIsAnErrorAndStaysOne) {
  const TempFolder folder;
  FullDisk disk;
  auto events = EventFile::Create(folder.path(), 0, 1700000000, disk);
  ASSERT_TRUE(events);
  disk.bytes_left = 10;
  const std::vector<Scalar> scalars{{"loss", 1}};
  auto failed = events->Append(1, 1700000001, scalars);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, StatusCode::kIo);
  disk.bytes_left = 1000;
  // Behind a torn record readers stop: nothing more is written there.
  failed = events->Append(2, 1700000002, scalars);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, events->path().string() + ": an earlier write failed");
}

}  // namespace
}  // namespace dgemma
