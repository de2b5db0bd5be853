// Contrastive representation distillation. Tian, Krishnan and Isola, "Contrastive representation distillation", ICLR
// 2020, §3.1 and eq. (19) ff.
#pragma once

#include "losses/feature_loss.h"

namespace ekd {

class ContrastiveDistillation : public FeatureLoss {
 public:
  ContrastiveDistillation(const DistillConfig& config, const LossContext& context);

 protected:
  // What each image of a batch is held against: rows of the banks, and a weight that says which of them count.
  struct Contrast {
    at::Tensor rows;     // int64 [B, 1 + candidates]; the image's own row comes first
    at::Tensor counted;  // bool, the same shape; negatives() of the candidates, and the first
  };

  // For each image a uniform draw without repetition from the images of other classes, a function of the seed, the
  // teacher and the number of its steps so far.
  virtual Contrast contrast(std::size_t teacher, const DistillationInput& input) const;

  std::int64_t negatives() const { return negatives_; }

 private:
  struct Banks {
    Embedding student_embedding, teacher_embedding;
    at::Tensor student, teacher;  // [N, width], rows of length 1 once they were met
    at::Tensor normalisers;       // [2], of the student's and the teacher's side; 0 before the first step
    at::Tensor steps;             // int64 0-dim
  };

  LossTerms against(std::size_t teacher, const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& theirs,
                    const DistillationInput& input) const override;

  double weight_, temperature_, momentum_;
  std::uint64_t seed_;
  at::Tensor labels_;  // int64 [N]
  std::int64_t negatives_ = 0, largest_class_ = 0;
  std::vector<Banks> banks_;
};

}  // namespace ekd
