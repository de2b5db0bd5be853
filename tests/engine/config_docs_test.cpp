// docs/config.md is made from the field list; this test writes it (EKD_UPDATE_DOCS=1) or checks that it is up to date.
#include <gtest/gtest.h>

#include <cstdlib>

#include "ekd/core/config_io.h"
#include "ekd/engine/training_run.h"
#include "tests/support/temporary_folder.h"

namespace ekd {
namespace {

std::string value_text(const Field& field) {
  const std::string text = field_json(field).dump();
  return text == "\"\"" || text == "[]" ? "" : "`" + text + "`";
}

std::string config_document() {
  Config teacher = default_config(Command::kTrainTeacher), student = default_config(Command::kDistill);
  const auto fields = config_fields(student, Command::kDistill, catalogue());
  const auto teacher_fields = config_fields(teacher, Command::kTrainTeacher, catalogue());
  std::string text =
      "# Settings\n\n"
      "Made from the program's field list. A configuration is a JSON object of sections, as `--print-config` shows it; "
      "every key can also be given\n"
      "as `--set section.key=value`. Defaults are those of `train-teacher`; in parentheses those of `train-student` "
      "and `distill` where they differ.\n"
      "The section `distill` belongs to that command.\n";
  std::string section;
  for (const auto& field : fields) {
    const auto dot = field.key.find('.');
    if (field.key.substr(0, dot) != section) {
      section = field.key.substr(0, dot);
      text += "\n## " + section + "\n\n| key | flag | accepts | default | meaning |\n|---|---|---|---|---|\n";
    }
    std::string value = value_text(field);
    for (const auto& other : teacher_fields)
      if (other.key == field.key && field_json(other) != field_json(field))
        value = value_text(other) + " (" + value + ")";
    text += "| `" + field.key + "` | " + (field.flag.empty() ? "" : "`" + field.flag + "`") + " | " +
            accepted_text(field) + " | " + value + " | " + field.help + " |\n";
  }
  return text;
}

TEST(ConfigDocs, AreUpToDate) {
  const std::filesystem::path path = std::filesystem::path(EKD_GOLDEN_DIR) / "../../docs/config.md";
  const std::string document = config_document();
  if (std::getenv("EKD_UPDATE_DOCS") != nullptr) test::write_text(path, document);
  EXPECT_EQ(test::read_text(path), document) << "run this test with EKD_UPDATE_DOCS=1";
}

}  // namespace
}  // namespace ekd
